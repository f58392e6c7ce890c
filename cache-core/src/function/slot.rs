//! Where a function meets a runtime.

use std::any::TypeId;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::cached_function::CachedFunction;
use crate::function::built::ReservedName;
use crate::function::definition::{Declaration, Definition};
use crate::runtime::CacheRuntime;

/// A function, ready to be called: its definition, and how it is bound in the process's own runtimes.
#[derive(Debug)]
pub struct FunctionSlot {
    pub(crate) definition: Definition,
    /// Lives as long as a slot that was made at run time: a runtime drops what it bound for a slot that no longer exists.
    life: Option<Arc<()>>,
    _name: Option<ReservedName>,
    number: OnceLock<u64>,
    /// The binding of the installed runtime, and that of the default one before it: the first instance that is called,
    /// which for a function that is not generic is the only one.
    installed: OnceLock<(Option<TypeId>, Arc<CachedFunction>)>,
    default: OnceLock<(Option<TypeId>, Arc<CachedFunction>)>,
}

/// One instance of a generic function: its types, or what tells them apart.
#[derive(Clone, Copy)]
pub struct Instantiation {
    id: TypeId,
    types: fn() -> String,
}

impl fmt::Debug for Instantiation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.types)())
    }
}

impl Instantiation {
    /// The instance that `T` stands for, whatever lifetimes are in it.
    #[must_use]
    pub fn of<T: ?Sized>() -> Self {
        Self {
            id: typeid::of::<T>(),
            types: || types_of(std::any::type_name::<T>()),
        }
    }
}

/// An expansion wraps each type of an instance in a `PhantomData` of a tuple: `<app::User><u8>`.
fn types_of(name: &str) -> String {
    let name = name
        .replace("core::marker::PhantomData<", "<")
        .replace(">, <", "><")
        .replace("::__here", "")
        // Not every compiler prints lifetimes, and names are the same in every process.
        .replace("<'_>", "")
        .replace("'_, ", "");
    let mut name = name
        .trim_start_matches('(')
        .trim_end_matches(')')
        .trim_end_matches(',')
        .to_owned();
    // `<app::find::__constant_N<3>>`, which stands for the value of a const parameter, becomes `<3>`.
    while let Some(at) = name.find("__constant_") {
        let start = name[..at].rfind('<').map_or(0, |open| open + 1);
        let Some(end) = name[at..].find('<').map(|open| at + open + 1) else {
            break;
        };
        name.replace_range(start..end, "");
        if let Some(close) = name[start..].find(">>") {
            name.remove(start + close);
        }
    }
    name
}

/// A function that is not bound to a runtime yet: a handle binds it where it is polled, as a call does.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    slot: SlotRef,
    instance: Option<Instantiation>,
}

#[derive(Clone, Debug)]
enum SlotRef {
    Declared(&'static FunctionSlot),
    Made(Arc<FunctionSlot>),
}

impl Origin {
    pub(crate) fn declared(slot: &'static FunctionSlot, instance: Option<Instantiation>) -> Self {
        Self {
            slot: SlotRef::Declared(slot),
            instance,
        }
    }

    pub(crate) fn made(slot: &Arc<FunctionSlot>) -> Self {
        Self {
            slot: SlotRef::Made(Arc::clone(slot)),
            instance: None,
        }
    }

    /// Binds it to the runtime that a call here would use.
    pub(crate) fn bind(&self) -> Arc<CachedFunction> {
        let slot = match &self.slot {
            SlotRef::Declared(slot) => slot,
            SlotRef::Made(slot) => &**slot,
        };
        slot.with_bound(self.instance, Arc::clone)
    }
}

/// Which of a slot's instances a runtime has bound.
pub(crate) type SlotKey = (u64, Option<TypeId>);

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

impl FunctionSlot {
    /// A slot for a declaration.
    #[must_use]
    pub const fn new(declaration: Declaration) -> Self {
        Self::of(Definition::declared(declaration))
    }

    /// The slot of a function that is made at run time.
    pub(crate) fn made(definition: Definition, name: ReservedName) -> Self {
        Self {
            life: Some(Arc::new(())),
            _name: Some(name),
            ..Self::of(definition)
        }
    }

    const fn of(definition: Definition) -> Self {
        Self {
            definition,
            life: None,
            _name: None,
            number: OnceLock::new(),
            installed: OnceLock::new(),
            default: OnceLock::new(),
        }
    }

    /// Binds it to the runtime that holds here: the task's own, the installed one, or the default, in that order.
    #[inline]
    pub(crate) fn with_bound<T>(
        &self,
        instance: Option<Instantiation>,
        then: impl FnOnce(&Arc<CachedFunction>) -> T,
    ) -> T {
        let slow;
        let bound = match self.installed_bound(instance) {
            Some(bound) => bound,
            None => {
                slow = self.bound_elsewhere(instance);
                &slow
            }
        };
        then(bound)
    }

    /// The binding of the installed runtime, if that is the one to use and the binding is known.
    #[inline]
    fn installed_bound(&self, instance: Option<Instantiation>) -> Option<&Arc<CachedFunction>> {
        if CacheRuntime::is_in_scope() {
            return None;
        }
        let (known, bound) = self.installed.get()?;
        (*known == instance.map(|instance| instance.id)).then_some(bound)
    }

    /// Any other binding. Not generic, so it is compiled once.
    fn bound_elsewhere(&self, instance: Option<Instantiation>) -> Arc<CachedFunction> {
        if let Some(runtime) = CacheRuntime::of_task() {
            return self.bind(instance, &runtime);
        }
        let id = instance.map(|instance| instance.id);
        let (runtime, cached) = match CacheRuntime::installed() {
            Some(runtime) => (runtime, &self.installed),
            None => (CacheRuntime::default_of_process(), &self.default),
        };
        if let Some((known, bound)) = cached.get()
            && *known == id
        {
            return Arc::clone(bound);
        }
        let bound = self.bind(instance, runtime);
        // Lost only to another instance, or to the same one.
        let _ = cached.set((id, Arc::clone(&bound)));
        bound
    }

    fn bind(&self, instance: Option<Instantiation>, runtime: &CacheRuntime) -> Arc<CachedFunction> {
        let key = (self.number(), instance.map(|instance| instance.id));
        let life = self.life.as_ref().map(Arc::downgrade);
        runtime.bind(key, &self.definition, life, || self.instance_name(instance))
    }

    fn number(&self) -> u64 {
        *self
            .number
            .get_or_init(|| NEXT_NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    fn instance_name(&self, instance: Option<Instantiation>) -> String {
        let types = instance
            .map(|instance| (instance.types)())
            .unwrap_or_default();
        format!("{}{types}", self.definition.name)
    }
}
