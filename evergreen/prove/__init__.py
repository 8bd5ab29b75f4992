"""`evergreen prove`: the whole loop in an account, under a name of its own, and nothing left behind.

It knows only AWS's APIs and the CDK CLI, so the local cloud can run it, too.
"""
