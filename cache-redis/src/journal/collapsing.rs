//! A set of invalidations that becomes coarser in place of larger.

use std::collections::HashMap;
use std::sync::Arc;

use cache_core::tier::RecordKey;

use super::names::{FunctionName, Invalidated};

/// A set of them that collapses instead of growing. Each has the number under which it was last put in.
#[derive(Debug, Default)]
pub(super) struct Collapsing {
    all: Option<u64>,
    functions: HashMap<Arc<FunctionName>, u64>,
    /// By function, then by arguments, with the digest.
    keys: HashMap<Arc<FunctionName>, HashMap<String, (u64, u64)>>,
    number_of_keys: usize,
}

/// One of them that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) what: Invalidated,
    number: u64,
}

impl Collapsing {
    pub(super) fn insert(&mut self, what: Invalidated, number: u64, most: usize) {
        if let Some(all) = &mut self.all {
            *all = number;
            return;
        }
        match what {
            Invalidated::All => {
                *self = Self {
                    all: Some(number),
                    ..Self::default()
                };
            }
            Invalidated::Function(function) => {
                if let Some(keys) = self.keys.remove(&function) {
                    self.number_of_keys -= keys.len();
                }
                self.functions.insert(function, number);
                if self.functions.len() > most {
                    self.insert(Invalidated::All, number, most);
                }
            }
            Invalidated::Key(function, arguments, digest) => {
                if let Some(known) = self.functions.get_mut(&function) {
                    *known = number;
                    return;
                }
                let keys = self.keys.entry(function).or_default();
                if keys.insert(arguments, (digest, number)).is_none() {
                    self.number_of_keys += 1;
                }
                if self.number_of_keys > most {
                    let largest = self.keys.iter().max_by_key(|(_, keys)| keys.len());
                    if let Some(largest) = largest.map(|(function, _)| Arc::clone(function)) {
                        self.insert(Invalidated::Function(largest), number, most);
                    }
                }
            }
        }
    }

    /// Takes one out, unless it was put in again since.
    pub(super) fn remove(&mut self, Queued { what, number }: &Queued) {
        match what {
            Invalidated::All => {
                self.all.take_if(|known| known == number);
            }
            Invalidated::Function(function) => {
                if self.functions.get(function) == Some(number) {
                    self.functions.remove(function);
                }
            }
            Invalidated::Key(function, arguments, _) => {
                let Some(keys) = self.keys.get_mut(function) else {
                    return;
                };
                if keys
                    .get(arguments)
                    .is_some_and(|(_, known)| known == number)
                {
                    keys.remove(arguments);
                    self.number_of_keys -= 1;
                }
                if keys.is_empty() {
                    self.keys.remove(function);
                }
            }
        }
    }

    pub(super) fn covers(&self, key: &RecordKey) -> bool {
        if self.is_empty() {
            return false;
        }
        let function = FunctionName::from(&*key.function);
        self.all.is_some()
            || self.functions.contains_key(&function)
            || self
                .keys
                .get(&function)
                .is_some_and(|keys| keys.contains_key(&key.arguments))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_none() && self.functions.is_empty() && self.keys.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.all.is_some()) + self.functions.len() + self.number_of_keys
    }

    pub(super) fn list(&self) -> Vec<Queued> {
        let queued = |what, number: &u64| Queued {
            what,
            number: *number,
        };
        let all = self
            .all
            .iter()
            .map(|number| queued(Invalidated::All, number));
        let functions = self
            .functions
            .iter()
            .map(|(function, number)| queued(Invalidated::Function(Arc::clone(function)), number));
        let keys = self.keys.iter().flat_map(|(function, keys)| {
            keys.iter().map(move |(arguments, (digest, number))| {
                let what = Invalidated::Key(Arc::clone(function), arguments.clone(), *digest);
                queued(what, number)
            })
        });
        all.chain(functions).chain(keys).collect()
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::{FunctionKey, Target};

    use super::*;

    fn key(function: &str, arguments: &str) -> RecordKey {
        RecordKey::new(Arc::new(FunctionKey::new(function, 1)), arguments.into(), 0)
    }

    fn invalidated(function: &str, arguments: &str) -> Invalidated {
        Invalidated::of(Target::Key(&key(function, arguments)))
    }

    #[test]
    fn too_many_become_something_coarser_and_none_is_lost() {
        let mut set = Collapsing::default();
        for n in 0..10 {
            set.insert(invalidated("a", &n.to_string()), 1, 10);
        }
        set.insert(invalidated("b", "1"), 1, 10);
        assert!(
            set.covers(&key("a", "99")),
            "the function is in it as a whole"
        );
        assert!(set.covers(&key("b", "1")) && !set.covers(&key("b", "2")));
        assert_eq!(set.len(), 2);
        for function in 0..11 {
            let function = FunctionKey::new(&format!("f{function}"), 1);
            set.insert(Invalidated::of(Target::Function(&function)), 1, 10);
        }
        assert_eq!(
            set.list()
                .into_iter()
                .map(|queued| queued.what)
                .collect::<Vec<_>>(),
            [Invalidated::All]
        );
        assert!(set.covers(&key("c", "1")));
    }
}
