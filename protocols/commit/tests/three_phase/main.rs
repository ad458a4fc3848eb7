//! Three-phase commit: its stories, random histories in which its assumption holds, and its bounds.

mod bounds;
mod property;
mod scripts;
