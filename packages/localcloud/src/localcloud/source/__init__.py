"""Where code comes from: bare git repositories below the state folder, as CodeCommit and CodeConnections offer them."""
