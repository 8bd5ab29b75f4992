"""Fixtures: moto's S3 under the real runtime; processes, namespaces and files are real."""

from localcloud_support.container_fixtures import aws, jobs, s3

__all__ = ["aws", "jobs", "s3"]
