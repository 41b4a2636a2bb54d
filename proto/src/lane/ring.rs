//! A queue in memory that its owner brings.

/// First in, first out, in the places of `S`.
///
/// Invariant: `len` is at most the number of places; those in use begin at `head` and go round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ring<S> {
    places: S,
    head: usize,
    len: usize,
}

impl<S> Ring<S> {
    pub(super) const fn new(places: S) -> Self {
        Self { places, head: 0, len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn is_full<T>(&self) -> bool
    where
        S: AsRef<[T]>,
    {
        self.len == self.places.as_ref().len()
    }

    /// The entry `index` places behind the first.
    pub(super) fn at_mut<T>(&mut self, index: usize) -> Option<&mut T>
    where
        S: AsMut<[T]>,
    {
        if index >= self.len {
            return None;
        }
        let places = self.places.as_mut();
        let place = (self.head + index) % places.len();
        places.get_mut(place)
    }

    pub(super) fn at<T: Copy>(&self, index: usize) -> Option<T>
    where
        S: AsRef<[T]>,
    {
        if index >= self.len {
            return None;
        }
        let places = self.places.as_ref();
        places.get((self.head + index) % places.len()).copied()
    }

    /// Puts an entry behind the others; false if there is no place left.
    pub(super) fn push<T>(&mut self, entry: T) -> bool
    where
        S: AsMut<[T]>,
    {
        let places = self.places.as_mut();
        if self.len >= places.len() {
            return false;
        }
        let place = (self.head + self.len) % places.len();
        places[place] = entry;
        self.len += 1;
        true
    }

    /// Takes the first entry out.
    pub(super) fn pop<T: Copy>(&mut self) -> Option<T>
    where
        S: AsRef<[T]>,
    {
        let first = self.at(0)?;
        self.head = (self.head + 1) % self.places.as_ref().len();
        self.len -= 1;
        Some(first)
    }

    /// The same queue in other places; the old ones come back. Entries for which there is no place are a bug.
    pub(super) fn move_to<T: Copy>(&mut self, mut places: S) -> S
    where
        S: AsRef<[T]> + AsMut<[T]>,
    {
        assert!(self.len <= places.as_ref().len(), "{} entries have no place in {}", self.len, places.as_ref().len());
        for index in 0..self.len {
            if let (Some(entry), Some(place)) = (self.at(index), places.as_mut().get_mut(index)) {
                *place = entry;
            }
        }
        self.head = 0;
        core::mem::replace(&mut self.places, places)
    }
}
