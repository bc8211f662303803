"""Cleanup processes: small programs that outlive flysim and remove what it made, should it be killed."""
