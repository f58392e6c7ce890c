//! Slots of functions: the bindings of a function to the runtimes of the process.

use std::any::TypeId;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::cached_function::CachedFunction;
use crate::call_trace::TracedCalls;
use crate::function::definition::Definition;
use crate::function::instantiation::Instantiation;
use crate::function::registry::ReservedName;
use crate::runtime::CacheRuntime;

/// A function that can be called: its definition, and its bindings to the runtimes of the process.
#[derive(Debug)]
pub struct FunctionSlot {
    definition: Definition,
    /// Exists as long as a slot that was built at run time. A runtime drops its binding of a slot
    /// that no longer exists.
    life: Option<Arc<()>>,
    _name: Option<ReservedName>,
    number: OnceLock<u64>,
    /// Binding of the installed runtime, for the instantiation that was called first. A function
    /// that is not generic has no other.
    installed: OnceLock<Binding>,
    /// Binding of the default runtime, which calls use until one is installed.
    default: OnceLock<Binding>,
}

type Binding = (Option<TypeId>, Arc<CachedFunction>);

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

impl FunctionSlot {
    /// Makes the slot of an annotated function.
    #[must_use]
    pub const fn new(definition: Definition) -> Self {
        Self {
            definition,
            life: None,
            _name: None,
            number: OnceLock::new(),
            installed: OnceLock::new(),
            default: OnceLock::new(),
        }
    }

    /// Makes the slot of a function that was built at run time.
    pub(crate) fn built(definition: Definition, name: ReservedName) -> Self {
        Self {
            life: Some(Arc::new(())),
            _name: Some(name),
            ..Self::new(definition)
        }
    }

    /// Returns the definition of the function.
    #[must_use]
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Returns the function, bound to the runtime that a call here uses: the task's own, the
    /// installed one, or the default one, in that order.
    ///
    /// The binding is borrowed in the usual case, because a hit must not write to the reference
    /// count that all threads share.
    #[inline]
    pub(crate) fn bound(&self, instance: Option<Instantiation>) -> Cow<'_, Arc<CachedFunction>> {
        match self.installed_bound(instance) {
            Some(bound) => Cow::Borrowed(bound),
            None => Cow::Owned(self.bound_elsewhere(instance)),
        }
    }

    /// Returns the function for a call, or its stand-in if the calls of the task are traced.
    #[inline]
    pub(crate) fn for_call(&self, instance: Option<Instantiation>) -> Cow<'_, Arc<CachedFunction>> {
        match self.installed_bound(instance) {
            Some(bound) => Cow::Borrowed(bound),
            None => Cow::Owned(self.for_call_elsewhere(instance)),
        }
    }

    fn for_call_elsewhere(&self, instance: Option<Instantiation>) -> Arc<CachedFunction> {
        let bound = self.bound_elsewhere(instance);
        match TracedCalls::are_on() {
            true => bound.stand_in(),
            false => bound,
        }
    }

    /// Returns the binding of the installed runtime, if a call here uses that runtime and the
    /// binding is known.
    #[inline]
    fn installed_bound(&self, instance: Option<Instantiation>) -> Option<&Arc<CachedFunction>> {
        if CacheRuntime::is_in_scope() {
            return None;
        }
        let (known, bound) = self.installed.get()?;
        (*known == instance.map(|instance| instance.id)).then_some(bound)
    }

    /// Returns any other binding. Not generic, so it is compiled once.
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
        // This fails if another thread was faster, or if the cell has another instantiation. The
        // runtime keeps the binding, so the next call finds it there.
        let _ = cached.set((id, Arc::clone(&bound)));
        bound
    }

    fn bind(&self, instance: Option<Instantiation>, runtime: &CacheRuntime) -> Arc<CachedFunction> {
        let key = (self.number(), instance.map(|instance| instance.id));
        let life = self.life.as_ref().map(Arc::downgrade);
        runtime.bind(key, &self.definition, life, || {
            let types = instance.map(|instance| instance.types());
            format!("{}{}", self.definition.name, types.unwrap_or_default())
        })
    }

    fn number(&self) -> u64 {
        // Relaxed: only the uniqueness of the number matters.
        *self
            .number
            .get_or_init(|| NEXT_NUMBER.fetch_add(1, Ordering::Relaxed))
    }
}

/// A function that is not bound to a runtime yet. A handle binds it when the handle is polled.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    slot: SlotRef,
    instance: Option<Instantiation>,
}

#[derive(Clone, Debug)]
enum SlotRef {
    Annotated(&'static FunctionSlot),
    Built(Arc<FunctionSlot>),
}

impl Origin {
    pub(crate) fn declared(slot: &'static FunctionSlot, instance: Option<Instantiation>) -> Self {
        Self {
            slot: SlotRef::Annotated(slot),
            instance,
        }
    }

    pub(crate) fn built(slot: &Arc<FunctionSlot>) -> Self {
        Self {
            slot: SlotRef::Built(Arc::clone(slot)),
            instance: None,
        }
    }

    /// Binds the function to the runtime that a call here uses.
    pub(crate) fn bind(&self) -> Arc<CachedFunction> {
        let slot = match &self.slot {
            SlotRef::Annotated(slot) => slot,
            SlotRef::Built(slot) => &**slot,
        };
        slot.bound(self.instance).into_owned()
    }
}
