"""The stages of a run: functions from records to a record, which know neither its configuration nor its folder."""
