"""What several tests need: small models, writers by hand, slow twins, hostile files."""
