//! Where a function meets a runtime.

use std::any::TypeId;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::bound::Bound;
use crate::definition::{Declaration, Definition};
use crate::runtime::CacheRuntime;

/// A function, ready to be called: its definition, and how it is bound in the process's own runtimes.
#[derive(Debug)]
pub struct Site {
    pub(crate) definition: Definition,
    /// Lives as long as the site, for one that was made at run time; a runtime forgets what it bound for those that are
    /// gone.
    life: Option<Arc<()>>,
    number: OnceLock<u64>,
    /// The binding of the installed runtime, and that of the default one before it: the first instance that is called,
    /// which for a function that is not generic is the only one.
    installed: OnceLock<(Option<TypeId>, Arc<Bound>)>,
    default: OnceLock<(Option<TypeId>, Arc<Bound>)>,
}

/// One instance of a generic function: its types, or what tells them apart.
#[derive(Clone, Copy)]
pub struct Instance {
    id: TypeId,
    types: fn() -> String,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.types)())
    }
}

impl Instance {
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

/// Which of a site's instances a runtime has bound.
pub(crate) type SiteKey = (u64, Option<TypeId>);

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

impl Site {
    /// A site for a declaration.
    #[must_use]
    pub const fn new(declaration: Declaration) -> Self {
        Self::of(Definition::declared(declaration), None)
    }

    /// A site that may go away.
    pub(crate) fn made(definition: Definition) -> Self {
        Self::of(definition, Some(Arc::new(())))
    }

    const fn of(definition: Definition, life: Option<Arc<()>>) -> Self {
        Self {
            definition,
            life,
            number: OnceLock::new(),
            installed: OnceLock::new(),
            default: OnceLock::new(),
        }
    }

    /// Binds it to the runtime that holds here: the task's own, the installed one, or the default, in that order.
    #[inline]
    pub(crate) fn with_bound<T>(
        &self,
        instance: Option<Instance>,
        then: impl FnOnce(&Arc<Bound>) -> T,
    ) -> T {
        if let Some(runtime) = CacheRuntime::of_task() {
            return then(&self.bind(instance, &runtime));
        }
        let id = instance.map(|instance| instance.id);
        if let Some((known, bound)) = self.installed.get()
            && *known == id
        {
            return then(bound);
        }
        self.with_bound_slow(instance, then)
    }

    fn with_bound_slow<T>(
        &self,
        instance: Option<Instance>,
        then: impl FnOnce(&Arc<Bound>) -> T,
    ) -> T {
        let id = instance.map(|instance| instance.id);
        let (runtime, cached) = match CacheRuntime::installed() {
            Some(runtime) => (runtime, &self.installed),
            None => (CacheRuntime::default_of_process(), &self.default),
        };
        if let Some((known, bound)) = cached.get()
            && *known == id
        {
            return then(bound);
        }
        let bound = self.bind(instance, runtime);
        let result = then(&bound);
        // Lost only to another instance, or to the same one.
        let _ = cached.set((id, bound));
        result
    }

    fn bind(&self, instance: Option<Instance>, runtime: &CacheRuntime) -> Arc<Bound> {
        let key = (self.number(), instance.map(|instance| instance.id));
        let life = self.life.as_ref().map(Arc::downgrade);
        runtime.bind(key, &self.definition, life, || self.instance_name(instance))
    }

    fn number(&self) -> u64 {
        *self
            .number
            .get_or_init(|| NEXT_NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    fn instance_name(&self, instance: Option<Instance>) -> String {
        let types = instance
            .map(|instance| (instance.types)())
            .unwrap_or_default();
        format!("{}{types}", self.definition.name)
    }
}
