"""From labelled recordings to questions with answers: tables in, annotation files and shards out."""
