"""Imported first by the server of forked children: bitsandbytes warns at its import of a kernel that no test uses."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
