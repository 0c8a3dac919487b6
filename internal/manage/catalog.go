package manage

// Catalog is how a catalog zone stands.
type Catalog struct {
	Made    bool     `json:"made"`              // by Postern, of its zones; else it is somebody else's, and followed
	Members int      `json:"members"`           // that it lists, or that follow from it
	Known   bool     `json:"known"`             // what it lists is known; else what followed from it before stays
	Broken  string   `json:"broken,omitempty"`  // why it means nothing
	Refused []string `json:"refused,omitempty"` // zones that it lists, and that are not taken
}

// Catalogs knows the zones that list zones.
type Catalogs interface {
	// Catalogs returns how each catalog stands, by zone and view.
	Catalogs() map[[2]string]Catalog
	// CatalogOf returns the zones of a view that are here because a catalog lists
	// them, and that catalog.
	CatalogOf(view string) map[string]string
}
