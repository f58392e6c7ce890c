#[allow(clippy::used_underscore_binding)]
async fn get_user(id: u64) -> Result<Option<User>, DbError> {
    let __lookup = match get_user::__with_key(
        ::multi_tier_cached::__private::CallTimed,
        get_user::__returns,
        &id,
    ) {
        ::multi_tier_cached::__private::TimedLookup::Hit(__result) => return __result,
        __lookup => __lookup,
    };
    let id = ::multi_tier_cached::__private::own(id);
    let __loading = match ::multi_tier_cached::__private::TimedLookup::load_late(
        __lookup,
        move || async move { get_user::__body(id).await },
    ) {
        ::multi_tier_cached::__private::LateCall::Answered(__result) => return __result,
        ::multi_tier_cached::__private::LateCall::Loading(__loading) => __loading,
    };
    __loading.await
}
///Handles of [`fn@get_user`]: `get_user::entry(..)`.
#[allow(non_camel_case_types, dead_code)]
struct get_user {
    _never: ::core::convert::Infallible,
}
#[allow(dead_code)]
impl get_user {
    ///Returns the handle of one call of `get_user`, which does not begin.
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
    fn entry(
        id: u64,
    ) -> ::multi_tier_cached::__private::Call<
        Result<Option<User>, DbError>,
        impl ::core::future::Future<Output = Result<Option<User>, DbError>>,
    > {
        let __handle = get_user::__with_key(
            ::multi_tier_cached::__private::MakeHandle,
            get_user::__returns,
            &id,
        );
        ::multi_tier_cached::__private::call(__handle, get_user::__body(id))
    }
    ///Invalidates one key of `get_user` in every tier.
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
    fn invalidation(id: u64) -> ::multi_tier_cached::__private::Invalidation {
        get_user::__with_key(
            ::multi_tier_cached::__private::MakeInvalidation,
            get_user::__returns,
            &id,
        )
    }
    ///Invalidates every key of `get_user` in every tier.
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
        ::multi_tier_cached::__private::FunctionRef::new(get_user::__slot())
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
                Result = Result<Option<User>, DbError>,
            >,
        __Mode: ::multi_tier_cached::__private::CallMode<__Spec>,
    >(__mode: __Mode, __returned: __Spec, id: &u64) -> __Mode::Output {
        __mode
            .take(
                ::multi_tier_cached::__private::FunctionRef::new(get_user::__slot()),
                __returned,
                |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    __parts.add(id);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __returns() -> impl ::multi_tier_cached::__private::CachedResult<
        Result = Result<Option<User>, DbError>,
    > {
        ::multi_tier_cached::__private::rule!(
            times_out() Result < Option < User >, DbError >,
            ::multi_tier_cached::__private::rule!(keep_none() Result < Option < User >,
            DbError >,
            ::multi_tier_cached::__private::rule!(error_if(DbError::is_not_found) Result
            < Option < User >, DbError >,
            ::multi_tier_cached::__private::rule!(stale_if(| error : & DbError | error
            .is_transient()) Result < Option < User >, DbError >,
            ::multi_tier_cached::__private::returns!(shared Result < Option < User >,
            DbError >) .ttl_from(| user : & User | user.expires_in))))
        )
    }
    #[doc(hidden)]
    fn __slot() -> &'static ::multi_tier_cached::__private::FunctionSlot {
        static __SLOT: ::multi_tier_cached::__private::FunctionSlot = ::multi_tier_cached::__private::FunctionSlot::new(::multi_tier_cached::__private::Definition {
            name: ::multi_tier_cached::__private::Cow::Borrowed(
                ::core::concat!(::core::module_path!(), "::", "get_user"),
            ),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            arguments: &["id"],
            times: ::multi_tier_cached::__private::Times {
                stale_while_revalidate: ::core::option::Option::Some(
                    ::core::time::Duration::new(60u64, 0u32),
                ),
                stale_if_error: ::core::option::Option::Some(
                    ::core::time::Duration::new(21600u64, 0u32),
                ),
                soft_timeout: ::core::option::Option::Some(
                    ::core::time::Duration::new(0u64, 200000000u32),
                ),
                hard_timeout: ::core::option::Option::Some(
                    ::core::time::Duration::new(2u64, 0u32),
                ),
                load_limit: ::core::option::Option::Some(
                    ::core::time::Duration::new(30u64, 0u32),
                ),
                none_ttl: ::core::option::Option::Some(
                    ::core::time::Duration::new(30u64, 0u32),
                ),
                error_ttl: ::core::option::Option::Some(
                    ::core::time::Duration::new(5u64, 0u32),
                ),
                refresh_ahead: ::core::option::Option::Some(
                    ::multi_tier_cached::__private::RefreshAhead::AtLeast(
                        ::core::time::Duration::new(60u64, 0u32),
                    ),
                ),
                jitter: ::core::option::Option::Some(10u8),
            },
            ..::multi_tier_cached::__private::Definition::DEFAULT
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(__SLOT.definition())
        }
        &__SLOT
    }
    #[doc(hidden)]
    async fn __body(id: u64) -> Result<Option<User>, DbError> {
        db().fetch_user(id).await
    }
}
