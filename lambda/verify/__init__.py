"""VerificationRow: compare the endpoint's answers with the scores that the evaluation recorded."""
