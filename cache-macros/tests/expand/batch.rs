#[allow(clippy::used_underscore_binding)]
pub async fn get_users(
    pool: &Pool,
    ids: &[u64],
    tenant: u32,
) -> Result<HashMap<u64, User>, DbError> {
    ::multi_tier_cached::__private::batch(
            get_users::__returns,
            ids,
            1000usize,
            |__item, __id| get_users::__with_key(
                __item,
                get_users::__returns,
                __id,
                &tenant,
            ),
            |__ids| {
                let tenant = ::core::clone::Clone::clone(&tenant);
                async move { get_users::__body(pool, &__ids, tenant).await }
            },
        )
        .await
}
///Handles of [`fn@get_users`]: `get_users::entry(..)`.
#[allow(non_camel_case_types, dead_code)]
pub struct get_users {
    _never: ::core::convert::Infallible,
}
#[allow(dead_code)]
impl get_users {
    ///Returns the handle of one call of `get_users`, which does not begin.
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
    pub fn entry(
        pool: &Pool,
        ids: &[u64],
        tenant: u32,
    ) -> ::multi_tier_cached::__private::BatchEntry<
        Result<HashMap<u64, User>, DbError>,
        u64,
        impl ::core::future::Future<Output = Result<HashMap<u64, User>, DbError>>,
    > {
        ::multi_tier_cached::__private::batch_entry(
            get_users::__returns,
            ids,
            1000usize,
            |__item, __id| get_users::__with_key(
                __item,
                get_users::__returns,
                __id,
                &tenant,
            ),
            {
                let tenant = ::core::clone::Clone::clone(&tenant);
                move |__ids| {
                    let tenant = ::core::clone::Clone::clone(&tenant);
                    async move { get_users::__body(pool, &__ids, tenant).await }
                }
            },
        )
    }
    ///Invalidates the keys of some ids of `get_users` in every tier.
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
    pub fn invalidation(
        pool: &Pool,
        ids: &[u64],
        tenant: u32,
    ) -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::batch_invalidation(
            ::multi_tier_cached::__private::FunctionRef::new(get_users::__slot())
                .invalidate_all(),
            ids,
            |__item, __id| get_users::__with_key(
                __item,
                get_users::__returns,
                __id,
                &tenant,
            ),
        )
    }
    ///Invalidates every key of `get_users` in every tier.
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
    pub fn invalidate_all() -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::FunctionRef::new(get_users::__slot())
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
                Result = <Result<
                    HashMap<u64, User>,
                    DbError,
                > as ::multi_tier_cached::__private::BatchResult>::Item,
            >,
        __Mode: ::multi_tier_cached::__private::CallMode<__Spec>,
    >(__mode: __Mode, __returned: __Spec, ids: &u64, tenant: &u32) -> __Mode::Output {
        __mode
            .take(
                ::multi_tier_cached::__private::FunctionRef::new(get_users::__slot()),
                __returned,
                |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    __parts.add(ids);
                    __parts.add(tenant);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __returns() -> impl ::multi_tier_cached::__private::CachedResult<
        Result = <Result<
            HashMap<u64, User>,
            DbError,
        > as ::multi_tier_cached::__private::BatchResult>::Item,
    > {
        ::multi_tier_cached::__private::returns!(
            shared < Result < HashMap < u64, User >, DbError > as
            ::multi_tier_cached::__private::BatchResult > ::Item
        )
    }
    #[doc(hidden)]
    fn __slot() -> &'static ::multi_tier_cached::__private::FunctionSlot {
        static __SLOT: ::multi_tier_cached::__private::FunctionSlot = ::multi_tier_cached::__private::FunctionSlot::new(::multi_tier_cached::__private::Definition {
            name: ::multi_tier_cached::__private::Cow::Borrowed(
                ::core::concat!(::core::module_path!(), "::", "get_users"),
            ),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            arguments: &["ids", "tenant"],
            tags: ::multi_tier_cached::__private::TagTemplates::declared(
                &[
                    &[
                        ::multi_tier_cached::__private::Piece::Literal("user:"),
                        ::multi_tier_cached::__private::Piece::ArgumentAt(0usize),
                    ],
                ],
            ),
            ..::multi_tier_cached::__private::Definition::DEFAULT
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(__SLOT.definition())
        }
        &__SLOT
    }
    #[doc(hidden)]
    async fn __body(
        pool: &Pool,
        ids: &[u64],
        tenant: u32,
    ) -> Result<HashMap<u64, User>, DbError> {
        pool.fetch_users(ids, tenant).await
    }
}
