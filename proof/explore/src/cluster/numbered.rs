//! Things that are kept once each, and called by number.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::ops::{Index, IndexMut};

/// Things, and what each is found by.
pub(super) struct Numbered<K, T, H> {
    all: Vec<T>,
    numbers: HashMap<K, u32, H>,
}

impl<K, T, H: Default> Default for Numbered<K, T, H> {
    fn default() -> Self {
        Self { all: Vec::new(), numbers: HashMap::default() }
    }
}

impl<K: Hash + Eq, T, H: BuildHasher> Numbered<K, T, H> {
    /// The number of what is found by this.
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// Adds what is not there yet; its number.
    pub(super) fn add(&mut self, key: K, thing: T) -> u32 {
        let number = self.next();
        self.all.push(thing);
        self.numbers.insert(key, number);
        number
    }

    /// The number of what is added next.
    pub(super) fn next(&self) -> u32 {
        u32::try_from(self.all.len()).expect("memory is full long before")
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// What each is found by, in any order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.numbers.keys()
    }
}

impl<K, T, H> Index<u32> for Numbered<K, T, H> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.all[number as usize]
    }
}

impl<K, T, H> IndexMut<u32> for Numbered<K, T, H> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.all[number as usize]
    }
}
