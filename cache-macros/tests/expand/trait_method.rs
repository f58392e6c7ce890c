impl Store for Repo {
    async fn get(&self, __arg0: (u64, u64)) -> u64 {
        static __SLOT: ::multi_tier_cached::__private::FunctionSlot = ::multi_tier_cached::__private::FunctionSlot::new(::multi_tier_cached::__private::Definition {
            name: ::multi_tier_cached::__private::Cow::Borrowed(
                ::core::concat!(::core::module_path!(), "::", "get"),
            ),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            in_impl: true,
            has_instances: true,
            arguments: &["_"],
            ..::multi_tier_cached::__private::Definition::DEFAULT
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(__SLOT.definition())
        }
        fn __here() {}
        let __miss = match ::multi_tier_cached::__private::CallMode::take(
            ::multi_tier_cached::__private::CallNow,
            ::multi_tier_cached::__private::FunctionRef::instance(
                &__SLOT,
                &(
                    ::multi_tier_cached::__private::type_of(&__here),
                    ::core::marker::PhantomData::<Self>,
                ),
            ),
            ::multi_tier_cached::__private::returns!(shared u64),
            |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                __parts.add(&__arg0);
            },
        ) {
            ::multi_tier_cached::__private::MemoryLookup::Hit(__result) => {
                return __result;
            }
            ::multi_tier_cached::__private::MemoryLookup::Miss(__miss) => __miss,
        };
        __miss
            .load(move || async move {
                #[allow(unreachable_code, clippy::all)]
                if false {
                    let __result: u64 = loop {};
                    return __result;
                }
                let (a, b) = __arg0;
                a + b
            })
            .await
    }
}
