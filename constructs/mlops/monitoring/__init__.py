"""Monitors on either engine, their alarms, and the functions that run the analyzer."""
