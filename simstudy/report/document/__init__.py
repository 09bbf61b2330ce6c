"""A study in ADEMP order: what the report and the preregistration say of it."""
