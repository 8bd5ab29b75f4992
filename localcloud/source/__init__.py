"""Where code comes from: bare git repositories below the state folder, as CodeCommit and CodeConnections offer them."""

from localcloud.source.cfn import CFN_TYPES
from localcloud.source.push import PushAdmin
from localcloud.source.repositories import Repositories, Repository
from localcloud.source.service import Source

__all__ = ["CFN_TYPES", "PushAdmin", "Repositories", "Repository", "Source"]
