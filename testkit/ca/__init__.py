"""Certificates, mutants of them, and certificates that other programs have made."""
