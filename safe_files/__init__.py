"""Files that survive a crash and readers that survive a file; knows nothing of the other packages."""

from safe_files.cached import cached, is_as_made
from safe_files.errors import FileError, WriteError
from safe_files.paths import expanded
from safe_files.reading import open_regular, parse_json, read_bytes, read_json, read_text
from safe_files.writing import replacing, write_text
from safe_files.yaml_text import dump_yaml, parse_yaml, read_yaml

__all__ = [
    "FileError",
    "WriteError",
    "cached",
    "dump_yaml",
    "expanded",
    "is_as_made",
    "open_regular",
    "parse_json",
    "parse_yaml",
    "read_bytes",
    "read_json",
    "read_text",
    "read_yaml",
    "replacing",
    "write_text",
]
