"""Cleanup processes: small programs that remove what flysim created if flysim is killed."""
