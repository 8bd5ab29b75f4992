"""Send clients that name one of AWS's hosts themselves to `AWS_ENDPOINT_URL`.

`aws sqs` of the AWS CLI v1 names `queue.amazonaws.com`, and the SageMaker SDK v2 a regional host of STS
(`get_execution_role`, `Session.account_id`): an endpoint in the code wins over the variable.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

_MODULE = "botocore.session"
_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".aws.dev", ".api.aws")


def install() -> None:
    """Change botocore when it is imported."""
    sys.meta_path.insert(0, _Finder())


def endpoint(url: str | None) -> str | None:
    """Return the endpoint that a client shall use instead of the one in its code."""
    local = os.environ.get("AWS_ENDPOINT_URL")
    host = urlsplit(url or "").hostname or ""
    return local if local and host.endswith(_HOSTS) else url


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = functools.partial(_executed, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


def _executed(execute: Any, module: ModuleType) -> None:
    execute(module)
    create: Any = module.Session.create_client

    @functools.wraps(create)
    def create_client(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "endpoint_url" in kwargs:
            kwargs["endpoint_url"] = endpoint(kwargs["endpoint_url"])
        return create(self, *args, **kwargs)

    module.Session.create_client = create_client
