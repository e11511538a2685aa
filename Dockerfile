# hwnas on the CPU, for whoever has Docker:  docker build -t hwnas . && docker run --rm -v "$PWD:/work" hwnas --version
# A test reads these instructions; nobody has built the image yet.
FROM python:3.11-slim-bookworm

RUN useradd --create-home --uid 1000 hwnas && mkdir /work && chown hwnas /work
WORKDIR /opt/hwnas

# The CPU build of torch first: pip's default brings several gigabytes of CUDA libraries.
COPY constraints.txt ./
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)"

COPY pyproject.toml README.md LICENSE devices.yaml ./
COPY docs ./docs
COPY hwnas ./hwnas
COPY lut ./lut
COPY onnx_models ./onnx_models
COPY profilers ./profilers
COPY safe_files ./safe_files
COPY search_spaces ./search_spaces
RUN pip install --no-cache-dir -c constraints.txt .

USER hwnas
WORKDIR /work
ENTRYPOINT ["hwnas"]
CMD ["--help"]
