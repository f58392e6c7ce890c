impl Repo {
    pub async fn get(&self, id: u64) -> Result<Option<User>, DbError> {
        let miss = match ::multi_tier_cached::__private::start::<
            Result<Option<User>, DbError>,
            _,
            _,
            _,
        >(
            ::multi_tier_cached::__private::At::instance(
                Self::__get_site(),
                &(::core::marker::PhantomData::<Self>,),
            ),
            ::multi_tier_cached::__private::returns!(
                shared Result < Option < User >, DbError >
            ),
            &(
                ::multi_tier_cached::__private::argument(&self.tenant),
                ::multi_tier_cached::__private::argument(&id),
            ),
        ) {
            ::multi_tier_cached::__private::Lookup::Hit(result) => return result,
            ::multi_tier_cached::__private::Lookup::Miss(miss) => miss,
        };
        miss.load(move || Self::__get_body(self, id)).await
    }
    ///The handle of one call of `get`, not made yet.
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    pub fn get_entry(
        &self,
        id: u64,
    ) -> ::multi_tier_cached::__private::Call<
        Result<Option<User>, DbError>,
        impl ::core::future::Future<Output = Result<Option<User>, DbError>>,
    > {
        let handle = ::multi_tier_cached::__private::handle(
            ::multi_tier_cached::__private::At::instance(
                Self::__get_site(),
                &(::core::marker::PhantomData::<Self>,),
            ),
            ::multi_tier_cached::__private::returns!(
                shared Result < Option < User >, DbError >
            ),
            &(
                ::multi_tier_cached::__private::argument(&self.tenant),
                ::multi_tier_cached::__private::argument(&id),
            ),
        );
        ::multi_tier_cached::__private::call(handle, Self::__get_body(self, id))
    }
    ///Drops every value of `get` in every tier.
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    pub fn get_invalidate_all() -> impl ::core::future::Future<
        Output = ::core::result::Result<(), ::multi_tier_cached::Error>,
    > + ::core::marker::Send + 'static {
        ::multi_tier_cached::__private::At::instance(
                Self::__get_site(),
                &(::core::marker::PhantomData::<Self>,),
            )
            .invalidate_all()
    }
    #[doc(hidden)]
    fn __get_site() -> &'static ::multi_tier_cached::__private::Site {
        static __SITE: ::multi_tier_cached::__private::Site = ::multi_tier_cached::__private::Site::new(::multi_tier_cached::__private::Declaration {
            name: ::core::concat!(::core::module_path!(), "::", "get"),
            file: ::core::file!(),
            line: ::core::line!(),
            named: false,
            generic: true,
            version: 1u32,
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            tiers: ::core::option::Option::None,
            codec: ::core::option::Option::None,
            template: &[],
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(& __SITE)
        }
        &__SITE
    }
    #[doc(hidden)]
    async fn __get_body(&self, mut id: u64) -> Result<Option<User>, DbError> {
        id += 1;
        self.db.get(id).await
    }
}
