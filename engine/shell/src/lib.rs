//! The thin part that touches the world, and the embedding API.
