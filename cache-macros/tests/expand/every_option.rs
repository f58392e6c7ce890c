#[allow(clippy::used_underscore_binding)]
async fn find<P: Database>(
    id: u64,
    filter: Filter,
    pool: &P,
) -> Result<User, io::Error> {
    let __miss = match find::__with_key::<
        P,
        _,
        _,
    >(crate::facade::__private::CallNow, find::__returns::<P>, &id, &filter) {
        crate::facade::__private::MemoryLookup::Hit(__result) => return __result,
        crate::facade::__private::MemoryLookup::Miss(__miss) => __miss,
    };
    __miss.load(move || find::__body::<P>(id, filter, pool)).await
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
    fn entry<P: Database>(
        id: u64,
        filter: Filter,
        pool: &P,
    ) -> crate::facade::__private::Call<
        Result<User, io::Error>,
        impl ::core::future::Future<Output = Result<User, io::Error>>,
    > {
        let __handle = find::__with_key::<
            P,
            _,
            _,
        >(crate::facade::__private::MakeHandle, find::__returns::<P>, &id, &filter);
        crate::facade::__private::call(__handle, find::__body::<P>(id, filter, pool))
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
    fn invalidation<P: Database>(
        id: u64,
        filter: Filter,
        pool: &P,
    ) -> crate::facade::__private::Invalidation {
        find::__with_key::<
            P,
            _,
            _,
        >(crate::facade::__private::MakeInvalidation, find::__returns::<P>, &id, &filter)
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
    fn invalidate_all() -> crate::facade::__private::Invalidation {
        crate::facade::__private::FunctionRef::new(find::__slot()).invalidate_all()
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
        P: Database,
        __Spec: crate::facade::__private::CachedResult<Result = Result<User, io::Error>>,
        __Mode: crate::facade::__private::CallMode<__Spec>,
    >(__mode: __Mode, __returned: __Spec, id: &u64, filter: &Filter) -> __Mode::Output {
        __mode
            .take(
                crate::facade::__private::FunctionRef::new(find::__slot()),
                __returned,
                |__parts: &mut crate::facade::__private::Parts<'_>| {
                    __parts.add(id);
                    __parts.add(&(filter.kind));
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __returns<P: Database>() -> impl crate::facade::__private::CachedResult<
        Result = Result<User, io::Error>,
    > {
        crate::facade::__private::returns!(
            rebuilt(errors::again) shared Result < User, io::Error >
        )
            .keep_if(|user: &User| user.active)
    }
    #[doc(hidden)]
    fn __slot() -> &'static crate::facade::__private::FunctionSlot {
        static __SLOT: crate::facade::__private::FunctionSlot = crate::facade::__private::FunctionSlot::new(crate::facade::__private::Definition {
            name: crate::facade::__private::Cow::Borrowed("users::find"),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: crate::facade::__private::Ttl::each(
                &[
                    (
                        crate::facade::__private::Level::L1,
                        ::core::time::Duration::new(30u64, 0u32),
                    ),
                    (
                        crate::facade::__private::Level::L2,
                        ::core::time::Duration::new(3600u64, 0u32),
                    ),
                ],
            ),
            is_named: true,
            version: 3u32,
            tiers: ::core::option::Option::Some(
                crate::facade::__private::Levels::of(
                    &[
                        crate::facade::__private::Level::L1,
                        crate::facade::__private::Level::L2,
                    ],
                ),
            ),
            codec: ::core::option::Option::Some(
                crate::facade::__private::Cow::Borrowed("json"),
            ),
            template: &[
                crate::facade::__private::Piece::Literal("user:"),
                crate::facade::__private::Piece::Argument,
                crate::facade::__private::Piece::Literal(":"),
                crate::facade::__private::Piece::Argument,
            ],
            arguments: &["id", "filter.kind"],
            ..crate::facade::__private::Definition::DEFAULT
        });
        crate::facade::__private::inventory::submit! {
            crate ::facade::__private::Registered::new(__SLOT.definition())
        }
        &__SLOT
    }
    #[doc(hidden)]
    async fn __body<P: Database>(
        id: u64,
        filter: Filter,
        pool: &P,
    ) -> Result<User, io::Error> {
        pool.find(id, filter).await
    }
}
