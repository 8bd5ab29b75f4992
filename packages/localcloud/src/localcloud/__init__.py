"""An AWS emulator on one loopback port: ministack, and the SageMaker and delivery services that it lacks.

The public interface is the command line (`localcloud`) and `localcloud.testing`.
"""
