#[allow(clippy::used_underscore_binding)]
async fn find_all(pool: &Pool, names: &[&str], tenant: u64) -> HashMap<String, User> {
    ::multi_tier_cached::__private::batch_late(
            find_all::__returns,
            names,
            1000usize,
            |__item, __id| find_all::__with_key(
                __item,
                find_all::__returns,
                __id,
                &tenant,
            ),
            |__id| ::multi_tier_cached::__private::KeepArgument::keep(*__id),
            || {
                let pool = ::multi_tier_cached::__private::keep(pool);
                let tenant = ::multi_tier_cached::__private::own(
                    ::core::clone::Clone::clone(&tenant),
                );
                move |__ids: ::std::vec::Vec<_>| {
                    let pool = ::multi_tier_cached::__private::keep(pool.lend());
                    let tenant = ::core::clone::Clone::clone(&tenant);
                    async move {
                        let __lent = ::multi_tier_cached::__private::lend_all(&__ids);
                        find_all::__body(pool.lend(), &__lent, tenant).await
                    }
                }
            },
        )
        .await
}
///Handles of [`fn@find_all`]: `find_all::entry(..)`.
#[allow(non_camel_case_types, dead_code)]
struct find_all {
    _never: ::core::convert::Infallible,
}
#[allow(dead_code)]
impl find_all {
    ///Returns the handle of one call of `find_all`, which does not begin.
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
    fn entry<'__ids>(
        pool: &Pool,
        names: &[&'__ids str],
        tenant: u64,
    ) -> ::multi_tier_cached::__private::BatchEntry<
        HashMap<String, User>,
        &'__ids str,
        impl ::core::future::Future<Output = HashMap<String, User>>,
    > {
        ::multi_tier_cached::__private::batch_entry(
            find_all::__returns,
            names,
            1000usize,
            |__item, __id| find_all::__with_key(
                __item,
                find_all::__returns,
                __id,
                &tenant,
            ),
            {
                let tenant = ::core::clone::Clone::clone(&tenant);
                move |__ids| {
                    let tenant = ::core::clone::Clone::clone(&tenant);
                    async move { find_all::__body(pool, &__ids, tenant).await }
                }
            },
        )
    }
    ///Invalidates the keys of some ids of `find_all` in every tier.
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
    fn invalidation(
        pool: &Pool,
        names: &[&str],
        tenant: u64,
    ) -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::batch_invalidation(
            ::multi_tier_cached::__private::FunctionRef::new(find_all::__slot())
                .invalidate_all(),
            names,
            |__item, __id| find_all::__with_key(
                __item,
                find_all::__returns,
                __id,
                &tenant,
            ),
        )
    }
    ///Invalidates every key of `find_all` in every tier.
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
    fn invalidate_all() -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::FunctionRef::new(find_all::__slot())
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
        __Spec: ::multi_tier_cached::__private::CachedResult<
                Result = <HashMap<
                    String,
                    User,
                > as ::multi_tier_cached::__private::BatchResult>::Item,
            >,
        __Mode: ::multi_tier_cached::__private::CallMode<__Spec>,
    >(__mode: __Mode, __returned: __Spec, names: &&str, tenant: &u64) -> __Mode::Output {
        __mode
            .take(
                ::multi_tier_cached::__private::FunctionRef::new(find_all::__slot()),
                __returned,
                |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    __parts.add(names);
                    __parts.add(tenant);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __returns() -> impl ::multi_tier_cached::__private::CachedResult<
        Result = <HashMap<
            String,
            User,
        > as ::multi_tier_cached::__private::BatchResult>::Item,
    > {
        ::multi_tier_cached::__private::rule!(
            may_time_out() < HashMap < String, User > as
            ::multi_tier_cached::__private::BatchResult > ::Item,
            ::multi_tier_cached::__private::returns!(shared < HashMap < String, User > as
            ::multi_tier_cached::__private::BatchResult > ::Item)
        )
    }
    #[doc(hidden)]
    fn __slot() -> &'static ::multi_tier_cached::__private::FunctionSlot {
        static __SLOT: ::multi_tier_cached::__private::FunctionSlot = ::multi_tier_cached::__private::FunctionSlot::new(::multi_tier_cached::__private::Definition {
            name: ::multi_tier_cached::__private::Cow::Borrowed(
                ::core::concat!(::core::module_path!(), "::", "find_all"),
            ),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            arguments: &["names", "tenant"],
            times: ::multi_tier_cached::__private::Times {
                stale_while_revalidate: ::core::option::Option::Some(
                    ::core::time::Duration::new(60u64, 0u32),
                ),
                ..::multi_tier_cached::__private::Times::NONE
            },
            ..::multi_tier_cached::__private::Definition::DEFAULT
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(__SLOT.definition())
        }
        &__SLOT
    }
    #[doc(hidden)]
    async fn __body(pool: &Pool, names: &[&str], tenant: u64) -> HashMap<String, User> {
        pool.find_all(names, tenant).await
    }
}
