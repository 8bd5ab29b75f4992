"""Module that many scripts import and few use: access to its attributes raises an error that names them."""

from sagemaker_stand_in.unsupported import unsupported_attribute

__getattr__ = unsupported_attribute(__name__)
