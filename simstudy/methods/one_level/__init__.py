"""Methods of one level: rows or cluster means as if they were independent."""
