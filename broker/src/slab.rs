//! Fixed slots with generations: the answer to "is this still the same connection?".

/// Names a value in a [`Slab`]: its place, and which tenant of that place it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Place in the slab.
    pub slot: u32,
    /// Tenant of the place; 24 bits, so that slot, generation and an operation's tag fit 64 bits.
    pub generation: u32,
}

/// Generations wrap here.
pub const GENERATIONS_MAX: u32 = 1 << 24;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by key, with slots reused last-in first-out so that the memory in use stays compact.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts a value in; `make` is told the key it will have.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        assert!(place.value.is_none(), "slot {slot} came from the free list but is taken");
        let key = Key { slot, generation: place.generation };
        place.value = Some(make(key));
        key
    }

    /// The value, if `key` still names it.
    pub fn at(&self, key: Key) -> Option<&T> {
        let place = self.slots.get(key.slot as usize)?;
        if place.generation == key.generation { place.value.as_ref() } else { None }
    }

    /// The value, if `key` still names it.
    pub fn at_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    /// The current tenant of a slot.
    pub fn slot_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.value.as_mut()
    }

    /// The current tenant of a slot.
    pub fn slot(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.value.as_ref()
    }

    /// The key of a slot's current tenant.
    pub fn key_at(&self, slot: u32) -> Option<Key> {
        let place = self.slots.get(slot as usize)?;
        place.value.as_ref().map(|_| Key { slot, generation: place.generation })
    }

    /// Takes the value out and retires its key.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = (place.generation + 1) % GENERATIONS_MAX;
        self.free.push(key.slot);
        Some(value)
    }

    /// Values present.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys of all values present.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, place)| place.value.is_some())
            .map(|(slot, place)| Key { slot: slot as u32, generation: place.generation })
    }

    /// All values present.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|place| place.value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stops_naming_its_slot_once_the_value_is_removed() {
        let mut slab = Slab::default();
        let first = slab.insert_with(|_| 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert_with(|_| 'b');
        assert_eq!(first.slot, second.slot, "the slot is reused");
        assert_eq!(slab.at(first), None);
        assert_eq!(slab.at(second), Some(&'b'));
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.len(), slab.keys().collect::<Vec<_>>()), (1, vec![second]));
    }
}
