"""Commands too long for `simstudy.cli`; each is a function that `simstudy.cli` adds."""
