"""davfusion in the chunked layout beside rclone, both over an S3 server that is as far away as a cloud."""
