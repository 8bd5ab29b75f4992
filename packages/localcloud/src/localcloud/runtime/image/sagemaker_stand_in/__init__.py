"""The programs that run inside the stand-ins of AWS's framework containers."""
