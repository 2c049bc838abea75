"""The five services: what the jobs really do. No service imports another."""
