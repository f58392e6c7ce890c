#[allow(clippy::used_underscore_binding)]
async fn find<'a, T, const N: usize>(
    __arg0: (u64, u64),
    name: &'a str,
) -> anyhow::Result<[T; N]>
where
    T: Row,
{
    let __miss = match find::__with_key::<
        T,
        N,
        _,
        _,
    >(::multi_tier_cached::__private::CallNow, find::__returns::<T, N>, &__arg0, &name) {
        ::multi_tier_cached::__private::MemoryLookup::Hit(__result) => return __result,
        ::multi_tier_cached::__private::MemoryLookup::Miss(__miss) => __miss,
    };
    __miss.load(move || find::__body::<T, N>(__arg0, name)).await
}
///Handles of [`fn@find`]: `find::entry(..)`.
#[allow(non_camel_case_types, dead_code)]
struct find {
    _never: ::core::convert::Infallible,
}
#[allow(dead_code)]
impl find {
    ///Returns the handle of one call of `find`, which does not begin.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    fn entry<'a, T, const N: usize>(
        __arg0: (u64, u64),
        name: &'a str,
    ) -> ::multi_tier_cached::__private::Call<
        anyhow::Result<[T; N]>,
        impl ::core::future::Future<Output = anyhow::Result<[T; N]>>,
    >
    where
        T: Row,
    {
        let __handle = find::__with_key::<
            T,
            N,
            _,
            _,
        >(
            ::multi_tier_cached::__private::MakeHandle,
            find::__returns::<T, N>,
            &__arg0,
            &name,
        );
        ::multi_tier_cached::__private::call(
            __handle,
            find::__body::<T, N>(__arg0, name),
        )
    }
    ///Invalidates one key of `find` in every tier.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    fn invalidation<'a, T, const N: usize>(
        __arg0: (u64, u64),
        name: &'a str,
    ) -> ::multi_tier_cached::__private::Invalidation
    where
        T: Row,
    {
        find::__with_key::<
            T,
            N,
            _,
            _,
        >(
            ::multi_tier_cached::__private::MakeInvalidation,
            find::__returns::<T, N>,
            &__arg0,
            &name,
        )
    }
    ///Invalidates every key of `find` in every tier.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    fn invalidate_all<'a, T, const N: usize>() -> ::multi_tier_cached::__private::Invalidation
    where
        T: Row,
    {
        ::multi_tier_cached::__private::FunctionRef::instance(
                find::__slot(),
                &(
                    ::core::marker::PhantomData::<T>,
                    ::multi_tier_cached::__private::type_of(&find::__constant_N::<N>),
                ),
            )
            .invalidate_all()
    }
    #[doc(hidden)]
    #[inline]
    #[allow(
        unused_parens,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    fn __with_key<
        'a,
        T,
        const N: usize,
        __Spec: ::multi_tier_cached::__private::CachedResult<
                Result = anyhow::Result<[T; N]>,
            >,
        __Mode: ::multi_tier_cached::__private::CallMode<__Spec>,
    >(
        __mode: __Mode,
        __returned: __Spec,
        __arg0: &(u64, u64),
        name: &&'a str,
    ) -> __Mode::Output
    where
        T: Row,
    {
        __mode
            .take(
                ::multi_tier_cached::__private::FunctionRef::instance(
                    find::__slot(),
                    &(
                        ::core::marker::PhantomData::<T>,
                        ::multi_tier_cached::__private::type_of(&find::__constant_N::<N>),
                    ),
                ),
                __returned,
                |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    __parts.add(__arg0);
                    __parts.add(name);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __returns<'a, T, const N: usize>() -> impl ::multi_tier_cached::__private::CachedResult<
        Result = anyhow::Result<[T; N]>,
    >
    where
        T: Row,
    {
        ::multi_tier_cached::__private::returns!(shared anyhow::Result < [T; N] >)
    }
    #[doc(hidden)]
    #[allow(non_snake_case, dead_code)]
    fn __constant_N<const N: usize>() {}
    #[doc(hidden)]
    fn __slot() -> &'static ::multi_tier_cached::__private::FunctionSlot {
        static __SLOT: ::multi_tier_cached::__private::FunctionSlot = ::multi_tier_cached::__private::FunctionSlot::new(::multi_tier_cached::__private::Definition {
            name: ::multi_tier_cached::__private::Cow::Borrowed(
                ::core::concat!(::core::module_path!(), "::", "find"),
            ),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            has_instances: true,
            arguments: &["_", "name"],
            ..::multi_tier_cached::__private::Definition::DEFAULT
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(__SLOT.definition())
        }
        &__SLOT
    }
    #[doc(hidden)]
    async fn __body<'a, T, const N: usize>(
        (a, b): (u64, u64),
        name: &'a str,
    ) -> anyhow::Result<[T; N]>
    where
        T: Row,
    {
        load(a, b, name).await
    }
}
