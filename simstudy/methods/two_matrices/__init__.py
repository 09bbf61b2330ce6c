"""Methods that estimate a within and a between covariance matrix, then analyse both."""
