"""The AWS on a laptop: ministack plus the SageMaker it lacks, behind one loopback port; nothing imports this."""
