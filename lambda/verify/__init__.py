"""Verification: does the endpoint answer as the evaluation said that the model would?"""
