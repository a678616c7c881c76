//! A table whose things stand in places that are used again, under names that are not.
//!
//! A look costs as much as an index into an array, whatever the size of the table, and a name of something that is gone
//! finds nothing, whoever stands in its place by now.

/// The name of a thing in a [`Slots`]; older ones come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    serial: u64,
    slot: u32,
}

impl Key {
    /// How many things the table had held before this one came.
    pub const fn serial(self) -> u64 {
        self.serial
    }
}

/// Things by [`Key`].
#[derive(Clone, Debug)]
pub struct Slots<T> {
    /// Boxed, since things are large and places move when there are more.
    slots: Vec<Option<(u64, Box<T>)>>,
    free: Vec<u32>,
    next_serial: u64,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { slots: Vec::new(), free: Vec::new(), next_serial: 0 }
    }
}

impl<T> Slots<T> {
    /// Puts a thing in, under a new name.
    ///
    /// # Panics
    /// Beyond 2^32 things at once.
    pub fn insert(&mut self, value: T) -> Key {
        let serial = self.next_serial;
        self.next_serial += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 things")
        });
        let empty = self.slots[slot as usize].replace((serial, Box::new(value)));
        assert!(empty.is_none(), "a free place holds nothing");
        Key { serial, slot }
    }

    /// The thing of this name, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.slot as usize) {
            Some(Some((serial, value))) if *serial == key.serial => Some(value),
            _ => None,
        }
    }

    /// The thing of this name, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.slot as usize) {
            Some(Some((serial, value))) if *serial == key.serial => Some(value),
            _ => None,
        }
    }

    /// Takes a thing out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (_, value) = self.slots[key.slot as usize].take()?;
        self.free.push(key.slot);
        Some(*value)
    }

    /// Whether the thing of this name is still there.
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// All things, the oldest first. Walks over all places, and sorts.
    pub fn oldest_first(&self) -> Vec<(Key, &T)> {
        let held = self.slots.iter().enumerate().filter_map(|(slot, held)| {
            let (serial, value) = held.as_ref()?;
            Some((Key { serial: *serial, slot: slot as u32 }, &**value))
        });
        let mut all: Vec<(Key, &T)> = held.collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// Takes all out. Their names are not used again.
    pub fn clear(&mut self) {
        *self = Slots { next_serial: self.next_serial, ..Slots::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_a_name_is_not() {
        let mut slots = Slots::default();
        let [one, two] = ["one", "two"].map(|value| slots.insert(value));
        assert_eq!(slots.remove(one), Some("one"));
        let three = slots.insert("three");
        assert_eq!((three.slot, slots.get(three)), (one.slot, Some(&"three")));
        assert_eq!(slots.get(one), None);
        assert_eq!(slots.get_mut(one), None);
        assert_eq!(slots.remove(one), None);
        assert_eq!(slots.oldest_first(), [(two, &"two"), (three, &"three")]);
        slots.clear();
        assert!(!slots.contains(two));
        assert!(slots.insert("four") > three);
    }
}
