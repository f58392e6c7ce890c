//! Names of functions: each is used once in a process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind};
use crate::function::definition::Definition;

/// An annotated function. The linker collects the registrations of all crates of the program.
#[derive(Debug)]
pub struct Registered(&'static Definition);

inventory::collect!(Registered);

impl Registered {
    /// Registers a function. Only expansions call this.
    #[must_use]
    pub const fn new(definition: &'static Definition) -> Self {
        Self(definition)
    }
}

/// Returns the annotated functions of this program, called or not: name, file and line of each.
pub fn registered_functions() -> impl Iterator<Item = (&'static str, &'static str, u32)> {
    annotated().map(|definition| (&*definition.name, definition.file, definition.line))
}

/// Returns the annotated functions of this program.
pub(crate) fn annotated() -> impl Iterator<Item = &'static Definition> {
    let registered = inventory::iter::<Registered>;
    registered
        .into_iter()
        .map(|Registered(definition)| *definition)
}

/// Functions that were built at run time and still exist, by name.
///
/// Lock rule: the lock is held for one access of the map. No other code runs under it.
static BUILT: Mutex<Option<HashMap<String, BuiltFunction>>> = Mutex::new(None);

#[derive(Debug)]
struct BuiltFunction {
    definition: Arc<Definition>,
    scope: Scope,
}

/// Runtime for which a function was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The installed runtime, which checks the function.
    Process,
    /// The runtime of the current task.
    Task,
}

fn lock() -> MutexGuard<'static, Option<HashMap<String, BuiltFunction>>> {
    BUILT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the function that was built under this name, if it still exists.
pub(crate) fn built(name: &str) -> Option<Arc<Definition>> {
    let built = lock();
    Some(Arc::clone(&built.as_ref()?.get(name)?.definition))
}

/// Returns the functions that were built for the installed runtime and still exist.
pub(crate) fn built_for_process() -> Vec<Arc<Definition>> {
    let built = lock();
    let built = built.iter().flat_map(HashMap::values);
    built
        .filter(|function| function.scope == Scope::Process)
        .map(|function| Arc::clone(&function.definition))
        .collect()
}

/// Name of a function that was built at run time.
///
/// No other function gets the name while this value exists. Otherwise both would use the same
/// records.
#[derive(Debug)]
pub(crate) struct ReservedName(String);

impl ReservedName {
    /// Reserves the name of a function.
    ///
    /// # Errors
    /// Another function has the name.
    pub(crate) fn reserve(definition: &Definition, scope: Scope) -> Result<Self, Error> {
        let name = definition.name.to_string();
        let annotated = annotated().find(|other| other.name == name);
        let mut built = lock();
        let built = built.get_or_insert_default();
        let other = annotated.or_else(|| built.get(&name).map(|other| &*other.definition));
        if let Some(other) = other {
            return Err(duplicate_name(other, definition));
        }
        let definition = Arc::new(definition.clone());
        built.insert(name.clone(), BuiltFunction { definition, scope });
        Ok(Self(name))
    }
}

impl Drop for ReservedName {
    fn drop(&mut self) {
        if let Some(built) = lock().as_mut() {
            built.remove(&self.0);
        }
    }
}

/// Returns the error that two functions have one name.
pub(crate) fn duplicate_name(first: &Definition, second: &Definition) -> Error {
    Error::new(
        ErrorKind::DuplicateFunction,
        format!("two functions have one name: {first} and {second}"),
    )
}
