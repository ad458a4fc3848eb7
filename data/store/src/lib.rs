//! Ordered maps on disk: a small trait, its stores and its model.
