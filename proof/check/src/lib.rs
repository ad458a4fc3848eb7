//! History checkers: was this linearizable?
