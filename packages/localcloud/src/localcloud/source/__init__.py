"""Source code: bare git repositories below the state folder, offered as by CodeCommit and CodeConnections."""
