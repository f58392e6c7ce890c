#[allow(clippy::used_underscore_binding)]
async fn get_user(id: u64, filter: Filter) -> Result<User, DbError> {
    let __miss = match get_user::__with_key(
        ::multi_tier_cached::__private::CallNow,
        get_user::__returns,
        &id,
        &filter,
    ) {
        ::multi_tier_cached::__private::MemoryLookup::Hit(__result) => return __result,
        ::multi_tier_cached::__private::MemoryLookup::Miss(__miss) => __miss,
    };
    __miss.load(move || get_user::__body(id, filter)).await
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
        filter: Filter,
    ) -> ::multi_tier_cached::__private::Call<
        Result<User, DbError>,
        impl ::core::future::Future<Output = Result<User, DbError>>,
    > {
        let __handle = get_user::__with_key(
            ::multi_tier_cached::__private::MakeHandle,
            get_user::__returns,
            &id,
            &filter,
        );
        ::multi_tier_cached::__private::call(__handle, get_user::__body(id, filter))
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
    fn invalidation(
        id: u64,
        filter: Filter,
    ) -> ::multi_tier_cached::__private::Invalidation {
        get_user::__with_key(
            ::multi_tier_cached::__private::MakeInvalidation,
            get_user::__returns,
            &id,
            &filter,
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
                Result = Result<User, DbError>,
            >,
        __Mode: ::multi_tier_cached::__private::CallMode<__Spec>,
    >(__mode: __Mode, __returned: __Spec, id: &u64, filter: &Filter) -> __Mode::Output {
        __mode
            .take(
                ::multi_tier_cached::__private::FunctionRef::new(get_user::__slot()),
                __returned,
                |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    __parts.add(&(filter.kind));
                    __parts.add(id);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __returns() -> impl ::multi_tier_cached::__private::CachedResult<
        Result = Result<User, DbError>,
    > {
        ::multi_tier_cached::__private::returns!(shared Result < User, DbError >)
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
            template: &[
                ::multi_tier_cached::__private::Piece::Argument,
                ::multi_tier_cached::__private::Piece::Literal(":"),
                ::multi_tier_cached::__private::Piece::Argument,
            ],
            arguments: &["filter.kind", "id"],
            tags: ::multi_tier_cached::__private::TagTemplates::declared(
                &[
                    &[
                        ::multi_tier_cached::__private::Piece::Literal("user:"),
                        ::multi_tier_cached::__private::Piece::ArgumentAt(1usize),
                    ],
                    &[
                        ::multi_tier_cached::__private::Piece::ArgumentAt(1usize),
                        ::multi_tier_cached::__private::Piece::Literal("/{"),
                        ::multi_tier_cached::__private::Piece::ArgumentAt(0usize),
                        ::multi_tier_cached::__private::Piece::Literal("}"),
                    ],
                    &[::multi_tier_cached::__private::Piece::Literal("all-users")],
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
    async fn __body(id: u64, filter: Filter) -> Result<User, DbError> {
        db().fetch_user(id, filter).await
    }
}
