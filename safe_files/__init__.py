"""Files that survive a crash, and bounded readers of files that others wrote; imports none of the other packages."""

from safe_files.cached import cached, is_as_made
from safe_files.drafts import drafting, forget_all_drafts, forget_drafts
from safe_files.errors import FileError, WriteError
from safe_files.paths import expanded
from safe_files.reading import open_regular, parse_json, read_bytes, read_json, read_text, sha256_of
from safe_files.refusals import explaining, is_full, raise_if_full, refusal
from safe_files.validation import first_fault
from safe_files.writing import copy_whole, put_folder, replacing, replacing_folder, write_text
from safe_files.yaml_text import dump_yaml, parse_yaml, read_yaml

__all__ = [
    "FileError",
    "WriteError",
    "cached",
    "copy_whole",
    "drafting",
    "dump_yaml",
    "expanded",
    "explaining",
    "first_fault",
    "forget_all_drafts",
    "forget_drafts",
    "is_as_made",
    "is_full",
    "open_regular",
    "parse_json",
    "parse_yaml",
    "put_folder",
    "raise_if_full",
    "read_bytes",
    "read_json",
    "read_text",
    "read_yaml",
    "refusal",
    "replacing",
    "replacing_folder",
    "sha256_of",
    "write_text",
]
