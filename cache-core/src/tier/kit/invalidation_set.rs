//! A set of invalidations that becomes coarser instead of growing without bound.

use std::collections::HashMap;

use super::target::OwnedTarget;
use crate::tier::{FunctionKey, RecordKey, Target};

/// The greatest number of keys, and of functions, in one set.
const MAX_ENTRIES: usize = 1 << 16;

/// A set of invalidations, each with the number under which it was last added.
///
/// Numbers must not decrease from one addition to the next.
///
/// 1. The set may become coarser, never incomplete. If it has too many keys, the function with most
///    of them takes their place; if it has too many functions, everything does.
/// 2. An invalidation that was done covers everything in its target that was added before it: the
///    keys of a function, or everything. So a target need not be in the set beside a wider one,
///    unless each is [confirmed](Self::insert_apart) by itself.
/// 3. A target that is added again after a number is not removed under that number.
#[derive(Debug)]
pub struct InvalidationSet {
    max_entries: usize,
    all: Option<u64>,
    /// By versioned name.
    functions: HashMap<String, (u64, FunctionKey)>,
    /// By the versioned name of the function, then by arguments.
    keys: HashMap<String, HashMap<String, (u64, RecordKey)>>,
    keys_len: usize,
}

impl Default for InvalidationSet {
    fn default() -> Self {
        Self::with_max_entries(MAX_ENTRIES)
    }
}

impl InvalidationSet {
    fn with_max_entries(max_entries: usize) -> Self {
        Self {
            max_entries,
            all: None,
            functions: HashMap::new(),
            keys: HashMap::new(),
            keys_len: 0,
        }
    }

    /// Adds a target under a number. If the set has a wider target, that one takes the number in
    /// its place: it is not removed under an earlier number then.
    pub fn insert(&mut self, target: Target<'_>, number: u64) {
        match self.number_of_wider(target) {
            Some(wider) => *wider = number,
            None => self.insert_apart(target, number),
        }
    }

    fn number_of_wider(&mut self, target: Target<'_>) -> Option<&mut u64> {
        if let Some(all) = &mut self.all {
            return Some(all);
        }
        let Target::Key(key) = target else {
            return None;
        };
        let function = self.functions.get_mut(&key.function.versioned());
        function.map(|(number, _)| number)
    }

    /// Adds a target under a number, also beside a wider one. For targets that are confirmed one at
    /// a time: a wider target that took a later number would stay, because it was sent under the
    /// earlier one and is not confirmed again.
    pub fn insert_apart(&mut self, target: Target<'_>, number: u64) {
        match target {
            Target::Key(key) => {
                let keys = self.keys.entry(key.function.versioned()).or_default();
                let previous = keys.insert(key.arguments.clone(), (number, key.clone()));
                self.keys_len += usize::from(previous.is_none());
                if self.keys_len > self.max_entries {
                    self.replace_keys_of_largest_function(number);
                }
            }
            Target::Function(function) => {
                let name = function.versioned();
                if let Some(keys) = self.keys.remove(&name) {
                    self.keys_len -= keys.len();
                }
                self.functions.insert(name, (number, function.clone()));
                if self.functions.len() > self.max_entries {
                    self.insert_apart(Target::All, number);
                }
            }
            Target::All => {
                self.functions.clear();
                self.keys.clear();
                self.keys_len = 0;
                self.all = Some(number);
            }
        }
    }

    fn replace_keys_of_largest_function(&mut self, number: u64) {
        let largest = self.keys.values().max_by_key(|keys| keys.len());
        let function = largest.and_then(|keys| keys.values().next());
        if let Some((_, key)) = function {
            let function = key.function.clone();
            self.insert_apart(Target::Function(&function), number);
        }
    }

    /// Removes a target that was invalidated, with everything in it, except what was added after
    /// `number`.
    pub fn remove(&mut self, target: Target<'_>, number: u64) {
        match target {
            Target::Key(key) => self.remove_key(key, number),
            Target::Function(function) => {
                let name = function.versioned();
                let added = self.functions.get(&name).map(|(added, _)| *added);
                if added.is_some_and(|added| added <= number) {
                    self.functions.remove(&name);
                }
                self.remove_keys_of(&name, number);
            }
            Target::All => {
                self.all = self.all.filter(|added| *added > number);
                self.functions.retain(|_, (added, _)| *added > number);
                self.keys.retain(|_, keys| {
                    keys.retain(|_, (added, _)| *added > number);
                    !keys.is_empty()
                });
                self.keys_len = self.keys.values().map(HashMap::len).sum();
            }
        }
    }

    fn remove_key(&mut self, key: &RecordKey, number: u64) {
        let function = key.function.versioned();
        let Some(keys) = self.keys.get_mut(&function) else {
            return;
        };
        let added = keys.get(&key.arguments).map(|(added, _)| *added);
        if added.is_some_and(|added| added <= number) {
            keys.remove(&key.arguments);
            self.keys_len -= 1;
        }
        if keys.is_empty() {
            self.keys.remove(&function);
        }
    }

    fn remove_keys_of(&mut self, function: &str, number: u64) {
        let Some(keys) = self.keys.get_mut(function) else {
            return;
        };
        let before = keys.len();
        keys.retain(|_, (added, _)| *added > number);
        self.keys_len -= before - keys.len();
        if keys.is_empty() {
            self.keys.remove(function);
        }
    }

    /// Returns `true` if the set has an invalidation of this key, of its function, or of
    /// everything. Does not allocate while the set is empty.
    #[must_use]
    pub fn covers(&self, key: &RecordKey) -> bool {
        if self.all.is_some() {
            return true;
        }
        if self.functions.is_empty() && self.keys.is_empty() {
            return false;
        }
        let function = key.function.versioned();
        self.functions.contains_key(&function)
            || self
                .keys
                .get(&function)
                .is_some_and(|keys| keys.contains_key(&key.arguments))
    }

    /// Returns the number of targets. A target inside a wider one is not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.all {
            Some(_) => 1,
            None => self.functions.len() + self.keys_alone().map(HashMap::len).sum::<usize>(),
        }
    }

    /// Returns `true` if there are no targets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.functions.is_empty() && self.keys.is_empty()
    }

    /// Returns the targets, the widest first. A target inside a wider one is left out.
    #[must_use]
    pub fn targets(&self) -> Vec<OwnedTarget> {
        let mut targets = self.wide_targets();
        if self.all.is_none() {
            let keys = self.keys_alone().flat_map(HashMap::values);
            targets.extend(keys.map(|(_, key)| OwnedTarget::Key(key.clone())));
        }
        targets
    }

    /// Returns the targets that are not single keys: everything, or functions.
    #[must_use]
    pub fn wide_targets(&self) -> Vec<OwnedTarget> {
        if self.all.is_some() {
            return vec![OwnedTarget::All];
        }
        let functions = self.functions.values();
        functions
            .map(|(_, function)| OwnedTarget::Function(function.clone()))
            .collect()
    }

    /// Returns the keys of the functions that are not in the set themselves.
    fn keys_alone(&self) -> impl Iterator<Item = &HashMap<String, (u64, RecordKey)>> {
        let keys = self.keys.iter();
        keys.filter(|(function, _)| !self.functions.contains_key(*function))
            .map(|(_, keys)| keys)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn function(name: &str) -> FunctionKey {
        FunctionKey::new(name, 1)
    }

    fn key(name: &str, arguments: &str) -> RecordKey {
        RecordKey::new(Arc::new(function(name)), arguments.into(), 0)
    }

    #[test]
    fn too_many_targets_become_coarser_and_none_is_lost() {
        let mut set = InvalidationSet::with_max_entries(10);
        for n in 0..10 {
            set.insert(Target::Key(&key("a", &n.to_string())), 1);
        }
        set.insert(Target::Key(&key("b", "1")), 1);
        assert!(set.covers(&key("a", "99")), "all keys of the function");
        assert!(set.covers(&key("b", "1")) && !set.covers(&key("b", "2")));
        assert_eq!(set.len(), 2);
        for n in 0..11 {
            set.insert(Target::Function(&function(&format!("f{n}"))), 1);
        }
        assert_eq!(set.targets(), [OwnedTarget::All]);
        assert!(set.covers(&key("c", "1")));
    }

    #[test]
    fn target_is_removed_with_everything_in_it_that_was_added_before() {
        let (one, other) = (key("a", "1"), key("a", "2"));
        let whole = function("a");
        for wider in [Target::Function(&whole), Target::All] {
            let mut set = InvalidationSet::default();
            set.insert(Target::Key(&one), 1);
            set.insert(wider, 2);
            set.insert_apart(Target::Key(&one), 3);
            set.insert_apart(Target::Key(&other), 4);
            assert_eq!(set.targets(), [OwnedTarget::of(wider)]);
            set.remove(wider, 3);
            assert_eq!(set.targets(), [OwnedTarget::Key(other.clone())]);
            assert!(!set.covers(&one));
            set.remove(wider, 4);
            assert!(set.is_empty());
        }
    }

    #[test]
    fn target_inside_a_wider_one_is_counted_and_kept_with_the_wider_one() {
        let (one, whole) = (key("a", "1"), function("a"));
        for wider in [Target::Function(&whole), Target::All] {
            let mut set = InvalidationSet::default();
            set.insert(wider, 1);
            set.insert(Target::Key(&one), 2);
            assert_eq!((set.len(), set.keys_len), (1, 0));
            set.remove(wider, 1);
            assert!(set.covers(&one), "the key was added after the first number");
            set.remove(wider, 2);
            assert!(set.is_empty());
        }
        let mut set = InvalidationSet::default();
        set.insert(Target::All, 1);
        set.insert(Target::Function(&whole), 2);
        assert_eq!(set.targets(), [OwnedTarget::All]);
        assert_eq!(set.len(), 1);
        set.remove(Target::All, 1);
        assert!(set.covers(&one));
    }

    #[test]
    fn target_that_is_added_again_is_not_removed_under_its_first_number() {
        let (key, whole) = (key("a", "1"), function("a"));
        for target in [Target::Key(&key), Target::Function(&whole), Target::All] {
            let mut set = InvalidationSet::default();
            set.insert(target, 1);
            set.insert(target, 2);
            set.remove(target, 1);
            assert!(set.covers(&key));
            set.remove(target, 2);
            assert!(set.is_empty() && !set.covers(&key));
        }
    }
}
